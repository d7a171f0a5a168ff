"""Other people's predictions as events: how to bring your own."""
