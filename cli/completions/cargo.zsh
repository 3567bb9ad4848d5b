    # Completes `cargo-wren wren new` like `cargo-wren new`.
    if [[ $words[1] != wren && $words[2] == wren ]] && (( CURRENT > 2 )); then
        shift words
        (( CURRENT -= 1 ))
    fi
