/** One thing that `winnow doctor` looks at. */
/** `good`: as it should be; `less`: winnow works, with less; `bad`: a command cannot work; `fact`: neither. */
export type State = 'good' | 'less' | 'bad' | 'fact';

export interface Check {
  /** Stable, for programs: kebab-case. */
  readonly name: string;
  readonly what: string;
  readonly state: State;
  /** What was found, in a few words. */
  readonly found: string;
  /** What it means for winnow, and the cure where there is one. */
  readonly means: string;
}
