"""The health check of the containers.

`python healthy.py URL[,STATUS:WORDS] ...` exits with 1 unless every URL answers with success, or
with STATUS and a body that contains WORDS. It imports the standard library only, because it runs
every few seconds in each container.
"""

import sys
import urllib.error
import urllib.request

TIMEOUT = 4.0  # seconds


def find_problem(wanted: str) -> str | None:
    """Return the problem with the answer at `URL[,STATUS:WORDS]`, or None."""
    url, _, accepted = wanted.partition(",")
    status, _, words = accepted.partition(":")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT):
            return None
    except urllib.error.HTTPError as error:
        body = error.read(4096).decode(errors="replace")
        if accepted and str(error.code) == status and words in body:
            return None
        return f"{url} answered {error.code}: {body[:200]}"
    except OSError as error:
        return f"{url} did not answer: {error}"


def main() -> int:
    problems = [text for wanted in sys.argv[1:] if (text := find_problem(wanted))]
    print("\n".join(problems) or "healthy")
    return 1 if problems or len(sys.argv) == 1 else 0


if __name__ == "__main__":
    sys.exit(main())
