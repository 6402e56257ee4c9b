"""Answers -> what to ask a judge, and its replies -> Reviews: the mirror image of `answer`.

`showings` decides which answers are shown, in which order and how often, `canaries` adds calls
with a known right verdict, `filling` turns one showing into the words that are sent, `judging`
knows what is owed of them and makes a reply into a row, and `standing` which of those rows still
count. Pure: meets no model, no file, no clock.
"""
