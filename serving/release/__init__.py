"""The release that the service follows.

`document.py`: the release document: champion, challenger, history; reading and writing.
`routing.py`: assigns each case to the champion or the challenger.
"""
