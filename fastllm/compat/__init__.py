"""Other libraries' interfaces on fastllm's backends: change the import, keep the code."""
