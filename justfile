# Chores; `just` lists them.
default:
    @just --list

# the quick start: build, run a whole experiment, print the leaderboard
quickstart *ARGS:
    cargo quickstart {{ARGS}}

# what the README promises
test:
    cargo test --workspace

# formatting and lints as CI checks them
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# everything that CI does
ci:
    bash .ci/run
