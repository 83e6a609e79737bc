"""Readers of the sets that people have: each turns files in one published format into records, one picture at a time.

    coco.py           COCO's captions and instances (and whatever else has that form)
    karpathy.py       Karpathy's splits of COCO and Flickr30k, and Flickr30k's own results_20130124.token
    conceptual.py     Conceptual Captions' TSV of captions and addresses
    vqa.py            VQA v2's questions and annotations
    visual_genome.py  Visual Genome's regions, objects, attributes, relationships, questions
    refcoco.py        RefCOCO, RefCOCO+, RefCOCOg: refs(...).p, which is a pickle and is not unpickled
    video_list.py     MSR-VTT's list of videos and sentences, with frames that lie in folders
    tables.py         a folder of pictures, and a CSV or TSV file of pictures and texts

    record.py         what a record is, and how its fields are checked
    json_items.py     the items of a JSON file of any size, one at a time

A reader gives `Record`s one at a time, and how many there will be if it knows. A record that is broken is added to
`problems` and left out; a file that is broken as a whole is a `DataError`. `data_tools.convert` writes them as shards.
"""
