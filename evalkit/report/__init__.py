"""Tables to charts to one page.

    results.py      rows -> Results: every number of the page, and the schema of the JSON file
    words.py        intervals, the verdict and the terminal's table, in words
    sections.py     Results -> Section, one function a part of the page, in the order of SECTIONS
    charts.py       numbers -> matplotlib -> SVG that a strict page may hold, or PNG
    page.py         Sections -> one self-contained HTML file
    spreadsheet.py  the pairs as CSV
    templates/      the page's words, styles and structure

Nothing here reads or writes a file of a workspace, or knows how an answer was bought.
"""
