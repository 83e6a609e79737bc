"""The words of the page: what is said of each kind of step. Nothing here knows a model; figures come from the run.

A sentence says what happens, and what for; what can be seen in the numbers, the page says itself, from the numbers.
"""

LEADS = {
    "overview": "A trained {model}, one {shown} and one sentence. Every number that the model computed on its way "
    "is in this page: go on with →, look inside a step with ↓, and follow the way back, where the gradients run.",
    "picture": "The picture is made {S} × {S} pixels small. The red, green and blue of each pixel, from 0 to 255, "
    "become numbers around zero: that is what the model gets, and all that it gets.",
    "clip": "A clip is {F} pictures, one after another, each made {S} × {S} pixels small. Here they lie side by side, "
    "in the order of reading; the model gets them as one block of numbers around zero, in which time is an axis like "
    "height.",
    "text": "The tokenizer cuts the text into pieces that it has learnt, {V} in all, and gives each piece its "
    "number. A start and an end are put around it. What follows the end only fills the row up to the longest text: a "
    "pad.",
    "mask": "A mask is a table of yes and no: may the token of this row look at the token of this column? Where it "
    "says no, the score becomes −∞ before the softmax, so that the weight is exactly 0. Point at a pair to ask why.",
    "patches": "The picture is cut into {N} squares. The numbers of each square are multiplied by one matrix, the "
    "same for all, and become a vector of {C} numbers: a token. Places differ only by the vector that is added for "
    "each place.",
    "tubes": "From the clip {N} pieces are cut: squares of a few frames, and tubes, which go through several frames "
    "and so see what moves. Each shape has a matrix of its own, which makes of a piece a token of {C} numbers; for its "
    "place in time, height and width a vector is added.",
    "words": "Each piece of the text looks up its row in a table: a vector of {C} numbers that training has found "
    "for it. A vector for its place is added, or the model could not tell “red left of blue” from “blue left of red”.",
    "attention": "Tokens look at each other: each one asks, the others answer, and it takes home an average of what "
    "they offer, weighted by how well they answer. Choose a layer and a head, and choose who asks.",
    "pooler": "Learned questions, the same for every picture, look at the tokens and take home an average of what "
    "they find. However large the picture, as many answers come out as there are questions.",
    "asks": "Three linear maps make of every token a query (what it asks for), a key (what it answers to) and a "
    "value (what it hands out): {D} numbers each, in each of {H} heads.",
    "scores": "Query times key: one number for every pair, large where the key answers what the query asks for. "
    "Divided by √{D}, so that it does not grow with the number of its terms.",
    "weights": "Forbidden pairs get −∞. Then each row is made to add up to 1. A query that prefers nothing would "
    "give every key it may look at the same share; colours tell multiples of that even share.",
    "mixed": "Each query takes home the average of the values, weighted by where it looked. What nobody looked at "
    "is lost here.",
    "mlp": "Here no token looks at another. Each goes through the same two linear maps, to {hidden} numbers and "
    "back to {C}, with a soft threshold between; the result is added to what the token was.",
    "stream": "A vector of {C} numbers for every token. One column is one feature; nobody has given it a name.",
    "map": "A map of the picture, coarser than it: {C} features for each place. What a place knows of the picture are "
    "its neighbours; the wider a stage, the more of them.",
    "side": "The answers of all heads are put side by side, {C} numbers again, and one linear map mixes them.",
    "vector": "One vector for the whole {what}, brought to length 1: only its direction counts. Pictures and texts "
    "that belong together shall point the same way.",
    "pairs": "Each of {B} pictures against each of {B} texts: how far do their vectors point the same way? The "
    "pairs on the diagonal belong together. The loss is small where each row and each column prefers its own.",
    "table": "A number for each of {B} pictures with each of {B} texts. Below is one row of that table: the first "
    "picture with every text, its own first.",
    "choices": "Behind each word the model gives a probability to all {V} pieces that could follow. The loss is how "
    "much the true one surprises it: −log p, 0 if it was sure, {logv} if it had no idea.",
    "logits": "For every word, {V} numbers: one for each piece that the model knows, larger for what it rather expects "
    "next. Only their differences count. The gradient is easily told: the probability of each piece, for the true one "
    "less 1, divided by the number of words.",
    "terms": "Each word adds one term to the loss: the logarithm of what exp(score) adds up to over all pieces, less "
    "the score of the true one. That is −log of its probability. The loss is the mean of the terms.",
    "scalar": "One number, put together of others. Training makes it smaller, and nothing else.",
    "backward": "If one of these numbers were a little larger, how much larger would the loss be? The gradient "
    "tells it for all of them at once. It came back along the ways below; where ways meet, their shares are added up.",
    "pixels": "The end of the way back: how much the loss would change with each pixel. Bright squares are where a "
    "different picture would have mattered most. That is not yet where the model looked.",
    "word-gradients": "The same for the text: how long the gradient is at each word's vector. Pads get exactly 0, "
    "for nobody looked at them.",
    "heads": "Attention shows where a head looks, not whether anybody uses what it saw. So each head was silenced, "
    "one after the other, and the loss of these {B} examples worked out again: {count} more forward passes.",
    "training": "The same example, seen by the model as it was earlier. Everything that can be shown for an earlier "
    "model follows this slider: go back to any step of the walk and see it with other weights.",
    "versus": "Two models, the same example. Switch between them anywhere with the key v; what differs between them "
    "in kind stands here side by side.",
}
TITLES = {
    "overview": "What happens here",
    "picture": "A picture becomes numbers",
    "text": "A text becomes numbers",
    "mask": "Who may look at whom",
    "pixels": "Back at the pixels",
    "word-gradients": "Back at the words",
    "heads": "Which heads matter",
    "training": "How it learned this",
    "versus": "Side by side",
}
SMALL_LOSS = 0.2  # below it an example is as good as known, and its gradients say little


def lead(kind, **facts):
    """The sentence of a kind of step, with its figures."""
    return LEADS[kind].format_map({name: value for name, value in facts.items() if value is not None})


def token_name(token, words, alone=False):
    """What a reader calls a token.   words: the example's pieces of text; alone: there is no other of its name"""
    if token.kind == "word":
        return words[token.place] if token.place < len(words) else "pad"
    if token.kind == "patch":
        return f"patch {token.place + 1}"
    if token.kind == "tube":
        return f"{'tube' if token.name.startswith('frames') else 'patch'} {token.place + 1} ({token.name})"
    if token.kind == "learned":
        short = token.name.rpartition(".")[2]
        if "cls" in short:
            return "[CLS]"
        if alone:
            return "the question" if "quer" in short else short
        return f"question {token.place + 1}" if "quer" in short else f"{short} {token.place + 1}"
    if token.kind == "together":
        return "their mean"
    return token.kind
