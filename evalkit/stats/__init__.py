"""Pure functions from Reviews to tables; one file a family.

`battles` undoes the order of showing, and nobody else does. `rates` says who won how often and by
how much, `chains` compares models that never met,
`bradley_terry` puts all in one order, `intervals` says how sure that is, `sequential`
when it is certain; `orders` and
`canaries` say how far the judge can be trusted. The unit is
always the question: rows that share one are averaged before anything is counted. Nothing here
reads a file or draws a picture.
"""
