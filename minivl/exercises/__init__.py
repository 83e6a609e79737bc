"""Exercises, cut out of minivl's own source, and a grader that works without a network and without trust.

    minivl exercise list
    minivl exercise get ex03 my-ex03        a copy of minivl with holes, and tests that say what is wrong
    cd my-ex03 && pytest                    ... until they pass
    minivl exercise check                   points for each part; --hint ex03.b for a hint
    minivl exercise submit                  ex03.zip, to be handed in
    minivl grade ex03 SUBMISSIONS --out scores/

cut.py finds the marked lines and takes them out; sheet.py says what an exercise is made of, sheets/ has them; judge.py
and worker.py are the two processes of the grader; handout.py is the student's side, report.py the teacher's.
"""

from .handout import check, get, hint, submit
from .judge import judge
from .report import grade
from .sheet import Sheet, all_sheets, sheet_of

__all__ = ["Sheet", "all_sheets", "check", "get", "grade", "hint", "judge", "sheet_of", "submit"]
