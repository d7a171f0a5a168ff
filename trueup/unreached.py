"""Why no Kafka broker was reached: its client says that in its log alone."""

import logging


class _Heard(logging.Handler):
    """Keeps what the client said last of a broker that it could not reach."""

    reason = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Such a line names the broker, and then the reason."""
        match record.args:
            case (_, *_, reason) if str(record.msg).startswith("Unable"):
                self.reason = str(reason)


_heard = _Heard()


def listen() -> None:
    """What the client says is kept from now on, and written only where logs were configured."""
    logging.getLogger("aiokafka").addHandler(_heard)


def reason() -> str:
    """What is said after the sentence that none answers: a colon and why, if that is known."""
    return _heard.reason and f": {_heard.reason}"
