"""`python -m serving.supervisor ARGUMENT...`: BentoML's command line, which ends on SIGHUP.

Circus, BentoML's supervisor, reloads the service on SIGHUP. A closed terminal would then leave the
service running, with its port taken.
"""

import signal

from bentoml_cli.cli import cli
from circus.sighandler import SysHandler


def main() -> None:
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # as `nohup` asks for
    SysHandler.handle_hup = SysHandler.handle_winch if ignored else SysHandler.handle_term
    cli()


if __name__ == "__main__":
    main()
