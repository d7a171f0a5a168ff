"""The flow: the only package that knows Faust and the Kafka log. Start reading in `topology`."""
