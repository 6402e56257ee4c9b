"""Tables to charts to one page.

    results.py      rows -> Results: every number of the page, and the schema of the JSON file
    evidence.py     Results with the rows behind them: what a section may show
    words.py        intervals, the verdict and the terminal's table, in words
    people.py       what people's votes tell, and what is not calibrated by them
    caveats.py      what must be known before a number is trusted
    sections.py     Evidence -> Section, one function a part of the page, in the order of SECTIONS
    explorer.py     every question with its answers and reviews, as data for the page's script
    markup.py       a stranger's markdown as harmless HTML
    translation.py  the page's own words in another language, from translations/
    fonts.py        which fonts a PNG is drawn with
    charts.py       numbers -> matplotlib -> SVG that a strict page may hold, or PNG
    page.py         Sections -> one self-contained HTML file
    summary.py      the verdict and the tables as Markdown
    changes.py      what is not as it was in an earlier run
    gates.py        what a result must come to, for CI
    spreadsheet.py  the pairs as CSV
    templates/      the page's words, structure, styles and script

Nothing here reads or writes a file of a workspace, or knows how an answer was bought.
"""
