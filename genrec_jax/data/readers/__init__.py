"""One module a raw format, each yields the same RawTables.

source            a raw file: gzip, encoding, lines; what to do with bad rows
columns           from columns of text to columns of the right type
sequences         `user item item ...` lines
delimited         TSV, CSV and the like, by a column mapping
recbole           RecBole's atomic files (.inter, .item, .user)
movielens         MovieLens 100K, 1M and 10M
json_lines        JSON lines by a field mapping
amazon            Amazon reviews and metadata of 2014 and 2018
explanations      features, opinions and sentences of reviews
redial            ReDial's dialogues
opendialkg        OpenDialKG's dialogues
item_attributes   one JSON object {item: [attribute, ...]}
parquet           Parquet by a column mapping
new_items         items that come later, and who took them first
tfds              any TensorFlow Datasets data set by a field mapping
"""
