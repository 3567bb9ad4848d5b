#!/bin/sh
# The baseline: GNU sort of the same lines. Usage: gnu_sort.sh sort FOLDER OUT
set -e
mkdir -p "$3"
LC_ALL=C sort --parallel=2 -S 2G -o "$3/part-0" "$2"/*
echo "{\"answer\": $(wc -l < "$3/part-0")}"
