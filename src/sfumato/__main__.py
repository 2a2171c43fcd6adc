"""The command `sfumato`: ready for Ctrl-C and for a lack of memory before anything large is imported.

Until then Ctrl-C would print a traceback, so what only a report needs is imported there.
"""

import os
import sys

from sfumato.utils.signals import INTERRUPTED, importing_ends_at_once

USER_ERROR, BUG = 2, 1


def main() -> int:
    """Runs one command and returns its exit code: as `sfumato.cli.main`; 1 after an error that nothing explains."""
    with importing_ends_at_once():
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # as it is where a program closed it
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # both are TextIOWrapper
        try:
            from sfumato.cli import main as run

            return run()
        except KeyboardInterrupt:
            return _ended("interrupted", INTERRUPTED)
        except MemoryError:
            return _ended("the memory is full. Close other programs, or choose smaller settings.", USER_ERROR)
        except ImportError as error:
            return _ended(f"a library could not be loaded: {error}. Free memory, or install it anew.", USER_ERROR)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return _ended(f"{where}{error.strerror or error}. Free space, or choose another path.", USER_ERROR)
        except Exception as error:  # a sentence for every mistake, and a report for us
            kind = type(error).__name__
            return _ended(f"an error that is a bug of sfumato: {kind}: {error}. Report it, with {_report()}", BUG)


def _ended(sentence: str, code: int) -> int:
    """Says why the command ended, and leaves nothing to be written to an output that may be closed or full."""
    sys.stdout = None  # Python would flush it once more, and complain
    print(f"sfumato: {sentence}", file=sys.stderr)
    return code


def _report() -> str:
    """Writes the traceback of the error that is being handled to a new file, and returns its path."""
    import tempfile
    import traceback

    handle, name = tempfile.mkstemp(prefix="sfumato-error-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
        traceback.print_exc(file=file)
    return name


if __name__ == "__main__":
    sys.exit(main())
