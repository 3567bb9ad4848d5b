
# Completes `cargo wren` and `cargo-wren wren` like `cargo-wren`.
function __fish_cargo_wren_words
    set -l words (commandline -opc)
    set -e words[1]
    string match -q -- '+*' "$words[1]"; and set -e words[1]
    test "$words[1]" = wren; or return 1
    set -e words[1]
    string join -- \n $words
    return 0
end

function __fish_cargo_wren_delegate
    set -l words (string escape -- (__fish_cargo_wren_words))
    complete --do-complete "cargo-wren $words "(commandline -ct)
end

complete -c cargo -n '__fish_cargo_wren_words >/dev/null' -f -a '(__fish_cargo_wren_delegate)'
complete -c cargo-wren -n '__fish_cargo_wren_words >/dev/null' -f -a '(__fish_cargo_wren_delegate)'
