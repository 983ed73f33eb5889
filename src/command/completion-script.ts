/** The shells that there is completion for. */
export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

/** A command, as completion knows it. */
export interface DescribedCommand {
  readonly name: string
  readonly description: string
  /** Those of every command included. */
  readonly options: readonly DescribedOption[]
  /** What its argument can be, where that is one of a few words; else files are completed. */
  readonly choices: readonly string[]
}

/** An option, such as `--json`. */
export interface DescribedOption {
  readonly flag: string
  readonly description: string
  /** Whether a value follows it. */
  readonly takesValue: boolean
}

/** What a shell reads to complete the commands and options of `varve`. */
export function completionScript(shell: Shell, commands: readonly DescribedCommand[]): string {
  return { bash, zsh, fish }[shell](commands)
}

/** The options that may stand before a command and are followed by a value, which is no command then. */
function leadingOptions(commands: readonly DescribedCommand[]): string[] {
  const [first, ...others] = commands.map(
    ({ options }) => new Set(options.filter(({ takesValue }) => takesValue).map(({ flag }) => flag)),
  )
  return [...(first ?? [])].filter(flag => others.every(flags => flags.has(flag)))
}

function bash(commands: readonly DescribedCommand[]): string {
  const cases = commands.map(({ name, options, choices }) => {
    const words = [...options.map(({ flag }) => flag), ...choices].join(' ')
    return `    ${name}) words='${words}' ;;`
  })
  return `# Completion of varve for bash. In ~/.bashrc: source <(varve completion bash)
_varve() {
  local current=\${COMP_WORDS[COMP_CWORD]} command= i words
  for ((i = 1; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
      ${leadingOptions(commands).join('|') || "''"}) ((i++)) ;;
      -*) ;;
      *) command=\${COMP_WORDS[i]}; break ;;
    esac
  done
  case $command in
    '') words='${commands.map(({ name }) => name).join(' ')} --help --version' ;;
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _varve varve
`
}

function zsh(commands: readonly DescribedCommand[]): string {
  const quote = (text: string): string => text.replaceAll("'", "'\\''").replaceAll(/[:[\]]/g, '\\$&')
  const cases = commands.map(({ name, options, choices }) => {
    const specs = options.map(
      ({ flag, description, takesValue }) =>
        `'${flag}[${quote(description)}]${takesValue ? ':value:_files' : ''}'`,
    )
    const rest = choices.length > 0 ? `'*:choice:(${choices.join(' ')})'` : `'*:file:_files'`
    return `    ${name}) _arguments ${[...specs, rest].join(' ')} ;;`
  })
  return `#compdef varve
# Completion of varve for zsh. In ~/.zshrc, after compinit: source <(varve completion zsh)
_varve() {
  local -a commands=(
${commands.map(({ name, description }) => `    '${name}:${quote(description)}'`).join('\n')}
  )
  local -i place=2
  while (( place < CURRENT )); do
    case \${words[place]} in
      ${leadingOptions(commands).join('|') || "''"}) (( place += 2 )) ;;
      -*) (( place++ )) ;;
      *) break ;;
    esac
  done
  if (( place >= CURRENT )); then
    _describe command commands
    return
  fi
  local command=\${words[place]}
  shift $(( place - 1 )) words
  (( CURRENT -= place - 1 ))
  case $command in
${cases.join('\n')}
  esac
}
compdef _varve varve
`
}

function fish(commands: readonly DescribedCommand[]): string {
  const quote = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")
  const none = `-n 'not __fish_seen_subcommand_from ${commands.map(({ name }) => name).join(' ')}'`
  const lines = commands.flatMap(({ name, description, options, choices }) => {
    const here = `-n '__fish_seen_subcommand_from ${name}'`
    return [
      `complete -c varve ${none} -f -a ${name} -d '${quote(description)}'`,
      ...(choices.length > 0 ? [`complete -c varve ${here} -f -a '${choices.join(' ')}'`] : []),
      ...options.map(
        option =>
          `complete -c varve ${here} -l ${option.flag.slice(2)}${option.takesValue ? ' -r' : ''} -d '${quote(option.description)}'`,
      ),
    ]
  })
  return `# Completion of varve for fish. In ~/.config/fish/completions/varve.fish: varve completion fish | source
${lines.join('\n')}
`
}
