"""The release that the service follows.

`document.py`: the release document: champion, challenger, history; reading and writing; which arm
answers each case.
`keys.py`: the Ed25519 keys. `signatures.py`: signatures of documents, entries and files.
"""
