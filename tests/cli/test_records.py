"""What is said of a training while it goes on, where no terminal shows a bar."""

from ranker.cli import records
from ranker.training.loop import Step


def steps(count):
    return [Step(number, number / 10, 0.5, 8, 1.0, 2.0, None) for number in range(1, count + 1)]


def test_a_training_that_no_terminal_shows_says_where_it_is_once_in_a_while(capsys, monkeypatch):
    with records.training_progress("cross.seed1") as on_step:
        for step in steps(3):
            on_step(step)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(records, "_TOLD_EVERY", 0.0)
    with records.training_progress("cross.seed1") as on_step:
        for step in steps(2):
            on_step(step)
    assert capsys.readouterr().err == (
        "train cross.seed1: step 1, 10% done, loss 0.5000.\ntrain cross.seed1: step 2, 20% done, loss 0.5000.\n"
    )
