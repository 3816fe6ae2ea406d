"""From validated batches to fitted candidates, in a workspace that DVC tracks and MLflow logs.

build_features.py: the stage that builds feature tables. How each feature is computed:
    the use case's `tables`, called by features/table_builder.py
assemble.py: the training set by a point-in-time join (features/point_in_time.py), and the holdout
estimators.py: pipelines that a use case may take as candidates
train.py: fitting the use case's candidates, with a time-ordered search
workspace.py: the frozen copy of code, data and parameters that a training runs in
dvc_stages.py: running the stages of dvc.yaml there, pushing and restoring outputs
mlflow_tracking.py: logging candidates to MLflow, and access to its client and runs
training_files.py: reading the outputs of the stages
lineage.py: the tags by which a version can be traced and rebuilt
training_outcome.py: the outcome of each training, and its sentence for people
"""
