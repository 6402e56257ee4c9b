"""Pure functions from Reviews to tables; one file a family.

`battles` undoes the order of showing, and nobody else does. `rates` says who won how often and by
how much, `chains` and `differences` compare models that never met, `length_control` takes out what
length did, `bradley_terry` puts all in one order. `intervals`, `bootstrap` and `shrinkage` say how
sure that is; `eprocess` and `sequential` when it is certain. `report_card`, `canaries` and
`agreement` say how far judges can be trusted, `detectors` whether answers are answers. The unit is
always the question: rows that share one are averaged before anything is counted. Nothing here
reads a file or draws a picture.
"""
