"""Entry point: run the command, turn every error into one line and exit status 2."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``theranostic-dose``; exits with 0, or with 2 after one line that says what is wrong.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.
    """
    from TheranosticDoseLib.cli.parser import parser
    from TheranosticDoseLib.errors import TheranosticDoseError

    chosen = parser().parse_args(arguments)
    # A terminated run cleans up like an interrupted one; only the main thread may set this.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        chosen.function(chosen)
    except TheranosticDoseError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("Cancelled; nothing was written.")
    except BrokenPipeError:
        # The reader of our output went away (``| head``); that is no error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:  # noqa: BLE001 - the last door: a user never sees a traceback unasked
        if os.environ.get("THERANOSTIC_DOSE_DEBUG"):
            traceback.print_exc()
        where = traceback.extract_tb(error.__traceback__)[-1]
        _fail(
            f"Unexpected {type(error).__name__} in {os.path.basename(where.filename)}:{where.lineno}: {error}. "
            "Nothing was written. Set THERANOSTIC_DOSE_DEBUG=1 for the details and report it."
        )
    sys.exit(0)


def _fail(message: str) -> None:
    sys.stderr.write("theranostic-dose: " + " ".join(message.split()) + "\n")
    sys.exit(2)
