"""Writing by libraries in Rust, whose errors are none of the operating system's until they are made so."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NUMBER: Final = re.compile(r"\(os error (\d+)\)")


@contextmanager
def failing_as_files_do() -> Iterator[None]:
    """What safetensors and tokenizers raise where the system refuses to write becomes its OSError.

    Raises: OSError with the system's number; anything else as it is.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        found = _NUMBER.search(str(error))
        if found is None:
            raise
        number = int(found.group(1))
        raise OSError(number, os.strerror(number)) from error
