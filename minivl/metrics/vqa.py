"""Answers to questions about pictures: the accuracy of VQA, where ten people answered each question, and exact match.

    accuracy = mean over the ten ways to leave one of them out of  min(1, how many of the other nine said the same / 3)

so an answer that three of ten gave has (7 · 3/3 + 3 · 2/3) / 10 = 0.9. Source: Antol et al. 2015, arXiv 1505.00468, and
the evaluation code of VQA v2, whose normalisation of texts this is, in its own order:

    1  punctuation becomes a space, or goes where it stands beside a space, or where the text has a number like 1,000
    2  full stops go, except before a digit
    3  of the answer to be judged alone: lower case, digits for number words, no a, an, the, apostrophes where they miss

People's answers are published in lower case and with digits; they go through steps 1 and 2 only if they differ.
"""

import re

import numpy as np

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER, _FULL_STOP = re.compile(r"\d,\d"), re.compile(r"\.(?!\d)")
_MOST_STOPS = 32  # that go: the evaluation code passes re.UNICODE, a 32, where the number of changes is asked for
_NUMBERS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}
_NUMBERS |= {"six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"}
_ARTICLES = {"a", "an", "the"}
_WITH_APOSTROPHE = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
    he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've
    needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've
    somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll
    that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've
    weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll
    why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
_APOSTROPHES = {"somebody'd": "somebodyd"}  # sic
for _word in _WITH_APOSTROPHE.split():  # each of them is known without one of its apostrophes
    _APOSTROPHES |= {_word[:k] + _word[k + 1 :]: _word for k, letter in enumerate(_word) if letter == "'"}


def vqa_scores(truth, found, kinds=None):
    """{"accuracy", "exact_match", "questions"}, and with kinds "by_kind": {kind: {"accuracy", ...}}

    truth   {question: [what people answered]}; VQA has ten answers each
    found   {question: the answer to judge}, the same questions
    kinds   {question: its kind}, as VQA's answer types: yes/no, number, other

    accuracy      is None where a question has fewer than four answers: nobody could get all of it
    exact_match   the share of answers that are what someone answered, both normalised in all steps
    """
    if not truth or truth.keys() ^ found.keys():
        odd = min(map(str, truth.keys() ^ found.keys()), default="none at all")
        raise ValueError(f"truth, found: must have the same questions; {odd} is in one of them")
    if kinds is not None and (missing := truth.keys() - kinds.keys()):
        raise ValueError(f"kinds: says nothing of question {min(map(str, missing))}")
    for question, answers in truth.items():
        if isinstance(answers, str) or not answers or not all(isinstance(a, str) for a in [*answers, found[question]]):
            raise ValueError(
                f"truth of {question!r}: {str(answers)[:60]}; must be a list of answers, and found one, all texts"
            )
    accuracy = {q: answer_accuracy(found[q], truth[q]) if len(truth[q]) > 3 else None for q in truth}
    exact = {q: normalised(found[q]) in map(normalised, truth[q]) for q in truth}

    def mean(questions):
        enough = all(accuracy[q] is not None for q in questions)
        both = {"accuracy": np.mean([accuracy[q] for q in questions]).item() if enough else None}
        return {**both, "exact_match": float(np.mean([exact[q] for q in questions])), "questions": len(questions)}

    if kinds is None:
        return mean(list(truth))
    each = sorted(set(kinds[q] for q in truth))
    return {**mean(list(truth)), "by_kind": {kind: mean([q for q in truth if kinds[q] == kind]) for kind in each}}


def answer_accuracy(answer, answers):
    """How right an answer is, from 0 to 1, by what people answered."""
    answers = list(map(without_punctuation, answers)) if len(set(answers)) > 1 else answers
    answer = normalised(answer)
    same = [other == answer for other in answers]
    return sum(min(1.0, (sum(same) - one) / 3) for one in same) / len(same)


def normalised(answer):
    """An answer after all steps: "Two of the Dogs." -> "2 of dogs" """
    words = without_punctuation(re.sub(r"[\n\t]", " ", answer).strip()).lower().split()
    words = [word for word in (_NUMBERS.get(word, word) for word in words) if word not in _ARTICLES]
    return " ".join(_APOSTROPHES.get(word, word) for word in words)


def without_punctuation(answer):
    """An answer after steps 1 and 2."""
    number, text = _COMMA_IN_NUMBER.search(answer), answer
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in answer or f" {mark}" in answer
        text = text.replace(mark, "" if beside_space or number else " ")
    return _FULL_STOP.sub("", text, count=_MOST_STOPS)
