"""A sink that is a list: the example, the debugger and the test double in one."""
