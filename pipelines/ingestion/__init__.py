"""Daily batches: fetched from the source, checked with Great Expectations, accepted or refused.

A batch becomes a raw partition, then a validated one; broken rows go to the quarantine.

ingest.py: which batches are due, and how they are fetched and stored
validate.py: the validation step and its summary, with errors for refused batches
pending_batches.py: which batches need a check, in which order, with which history
batch_checks.py: broken rows and refused batches, from the rules of the use case
batch_facts.py: the facts of a whole batch, such as row count and shares of missing values
expectation_suites.py: all calls of Great Expectations, and its data docs
accepted_batches.py: storing accepted batches, refusing batches, keeping replaced ones, and
counting rows that repeat a key of an earlier batch
package_data.py: the folder of a package that holds data
recipe.py: the recipe of a training in one file: parameters, and digests of the code by stage
rules.py: rules of every feed, and helpers for those of a use case
"""
