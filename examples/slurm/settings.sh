# What is audited, and how: change these lines. Every path must be the same on all machines.
MODEL=${MODEL:-/shared/model}
TARGETS=${TARGETS:-/shared/portfolio}
CONTROLS=${CONTROLS:-/shared/controls}
# Where the null bank, the shards and the merged run go.
WORK=${WORK:-/shared/audit}
# Number of parts, one task of the array each.
SHARDS=${SHARDS:-20}
# Why the controls cannot be in the training set; printed in every report.
NOTE=${NOTE:-write here where the controls come from}
# Options of calibrate and audit alike. A fixed batch gives identical numbers on all machines.
OPTIONS=${OPTIONS:---effort standard --batch-size 16}
export MODEL TARGETS CONTROLS WORK SHARDS NOTE OPTIONS
