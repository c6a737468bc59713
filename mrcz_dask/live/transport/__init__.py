"""Where live frames come from: a socket, a folder, a replay."""
