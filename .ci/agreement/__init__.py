"""What template.yaml, the code, events/ and docs/ have to agree on, one subject a file.

Each `problems` yields the disagreements, as lines that name the file to correct.
"""
