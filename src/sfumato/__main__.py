"""Entry point of the command `sfumato`: turns every error into a message and an exit code.

Imports little at the top: until `exit_on_interrupted_import` is active, Ctrl-C prints a traceback.
"""

import os
import sys

from sfumato.utils.signals import INTERRUPTED, exit_on_interrupted_import

USER_ERROR, BUG = 2, 1


def main() -> int:
    """Runs one command and returns its exit code: that of `sfumato.cli.main`, or 1 after an unexpected error."""
    with exit_on_interrupted_import():
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # None if the parent process closed it
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # both are TextIOWrapper
        try:
            from sfumato.cli import main as run

            return run()
        except KeyboardInterrupt:
            return _fail("interrupted", INTERRUPTED)
        except MemoryError:
            return _fail("out of memory. Close other programs, or choose smaller settings.", USER_ERROR)
        except ImportError as error:
            return _fail(f"a library could not be imported: {error}. Free memory, or reinstall it.", USER_ERROR)
        except OSError as error:
            path = f"{error.filename}: " if error.filename else ""
            return _fail(f"{path}{error.strerror or error}. Free disk space, or choose another path.", USER_ERROR)
        except Exception as error:  # a bug: print one line, and write the traceback to a file
            kind = type(error).__name__
            return _fail(f"unexpected error (a bug in sfumato): {kind}: {error}. Report it with {_report()}", BUG)


def _fail(message: str, code: int) -> int:
    """Prints an error and returns the exit code."""
    sys.stdout = None  # prevents a final flush, which fails if stdout is closed or full
    print(f"sfumato: {message}", file=sys.stderr)
    return code


def _report() -> str:
    """Writes the traceback of the current exception to a new file and returns its path."""
    import tempfile
    import traceback

    handle, name = tempfile.mkstemp(prefix="sfumato-error-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
        traceback.print_exc(file=file)
    return name


if __name__ == "__main__":
    sys.exit(main())
