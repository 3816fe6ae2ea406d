"""`python -m serving.supervisor ARGUMENT...`: BentoML's command line, with two differences.

It ends on SIGHUP. Circus, BentoML's supervisor, reloads the service instead: a closed terminal
would leave the service running, with its port taken.

It ignores a configuration for another service of the user. Each further worker, for example, would
have limits and metrics of its own. `serving/service.py` holds the configuration.
"""

import os
import signal

CONFIGURATION = ("BENTOML_CONFIG", "BENTOML_CONFIG_OPTIONS", "BENTOML_CONFIG_OVERRIDES")


def main() -> None:
    for name in CONFIGURATION:
        os.environ.pop(name, None)
    from bentoml_cli.cli import cli
    from circus.sighandler import SysHandler

    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # as `nohup` asks for
    SysHandler.handle_hup = SysHandler.handle_winch if ignored else SysHandler.handle_term
    cli()


if __name__ == "__main__":
    main()
