#!/usr/bin/env bash
# A gate for CI: the new bundle must not be slower than the released one.
#
#     examples/ci_gate.sh RELEASED NEW [OUT]
#
# It exits with 0 (surely not slower by more than the share), 1 (surely slower) or 3 (the measurement cannot decide), as `compare` does.
# The report is written in each case, into OUT/report.md, and shown on the page of a GitHub job.
set -euo pipefail
released=$1 new=$2 out=${3:-profiles/gate}

# Both are measured now, on this machine, interleaved and each in its own process. Times of yesterday's runner do not compare.
# Shared runners are noisy: a longer BUDGET_S decides smaller differences, and fewer threads than cores leave room for other work.
code=0
prune-deploy compare "$released" "$new" --out "$out" \
  --backend "${BACKEND:-ort}" --batch "${BATCH:-1}" --threads "${THREADS:-2}" \
  --rigor "${RIGOR:-full}" --budget-s "${BUDGET_S:-120}" \
  --fail-if-slower "${ALLOWED:-3%}" || code=$?

# Exit codes 0, 1 and 3 are verdicts. Any other one is a mistake or a machine that cannot run this, and there is nothing to report.
case $code in
  0 | 1 | 3) ;;
  *) exit "$code" ;;
esac

prune-deploy report "$out" --format md --out "$out/report.md"
if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
  cat "$out/report.md" >> "$GITHUB_STEP_SUMMARY"
fi

if [ "$code" = 3 ]; then
  echo "The gate cannot decide. Set BUDGET_S higher, or let 3 pass: ./examples/ci_gate.sh … || [ \$? = 3 ]" >&2
fi
exit "$code"
