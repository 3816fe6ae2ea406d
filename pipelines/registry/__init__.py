"""Versions of the registered model in MLflow's registry: registration, files, model card.

- `register.py`: from a gated training to a version, with the facts of its card.
- `refit.py`: fits the winner on every known case, and runs the gates on it.
- `versions.py`: looks up versions in MLflow.
- `version_files.py`: the signed list of a version's files.
- `download.py`: a version's files in `var/usecases/<name>/models/`, checked against this list.
- `reproduce.py`: rebuilds a version and compares it (`mlops reproduce`).
- `model_card.py`: the card in Markdown, and as an HTML page; owner, purpose and risks come from
  the front matter of `card.md` of the use case.
- `bento.py`: the service with the champion as one BentoML archive.
"""
