"""The commands, one a file: parse, call one library function, print."""
