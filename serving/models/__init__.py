"""The models of the service: loaded, verified, swapped, scored and explained.

`holder.py`: follows the release and holds its models in memory.
`scoring.py`: scores a case with champion and challenger.
`evaluator.py`: exports a model to its served form, and predicts with it.
`served_form.py`: chooses that form: trees, or the scikit-learn pipeline; its files and digest.
`trees.py`: predicts with treelite.
`skops_file.py`: stores pipelines without pickle.
`explanation.py`: contributions of the features to a prediction; SHAP's form of the trees.
"""
