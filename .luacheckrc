std = "lua54"
cache = false
max_line_length = 120
exclude_files = { "build", ".venv" }
files["tests"] = { globals = {} }
