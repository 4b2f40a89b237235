/** `winnow report --sharing`: reads the program's modules, measures its starts, prints the table. */
import type { Command } from '../profile/model.ts';
import type { Store } from '../profile/store.ts';
import type { Starts } from '../report/sharing.ts';
import type { Closure } from '../share/closure/modules.ts';
import type { StartCost } from '../sys/start-cost.ts';
import { type Operands, writeJson } from './options.ts';

const ROUNDS = 15;

/**
 * The command behind the dashes, which need not have been recorded, or that of a profile.
 * @throws WinnowError E_PROGRAM_…, E_NO_PROFILE
 */
export async function sharedCommand(store: Store, operands: Operands): Promise<Command> {
  const [typed] = operands.command ?? [];
  if (operands.command === undefined || typed === undefined || operands.before.length > 0) {
    const { selectProfile } = await import('./select-profile.ts');
    const [run] = selectProfile(store, operands).runs;
    if (run !== undefined) return run.command;
  }
  const { resolveProgram } = await import('../record/resolve.ts');
  const cwd = process.cwd();
  const program = resolveProgram(typed ?? '', cwd, process.env.PATH);
  return { program, argv: operands.command ?? [], cwd };
}

/** @throws WinnowError E_NOT_DYNAMIC, E_CLOSURE, E_ELF_… */
export async function reportSharing({ program, argv }: Command, asJson: boolean): Promise<void> {
  const { WinnowError } = await import('../base/errors.ts');
  const { readClosure } = await import('../share/closure/modules.ts');
  const { sharingFigures } = await import('../share/notes/figures.ts');
  const { SHARING_JSON_VERSION, sharingReport } = await import('../report/sharing.ts');
  const { startProgress } = await import('../term/progress.ts');
  const progress = startProgress('looking at modules');
  try {
    const closure = readClosure(program);
    if ('kind' in closure) {
      throw new WinnowError({
        code: 'E_NOT_DYNAMIC',
        kind: 'unsupported',
        what: `the program has no modules to share: ${closure.reason}`,
        where: program,
        next: 'name a program that is linked dynamically',
      });
    }
    const figures = sharingFigures(closure);
    const starts = await startsOf(closure, argv, (text) => progress.update(text));
    progress.stop();
    const report = sharingReport({ command: argv, figures, starts });
    if (asJson) return writeJson('sharing', SHARING_JSON_VERSION, report);
    const { renderSharing } = await import('../report/sharing-text.ts');
    process.stdout.write(renderSharing(report));
  } finally {
    progress.stop();
  }
}

async function startsOf(
  { program, modules }: Closure,
  argv: readonly string[],
  onProgress: (text: string) => void,
): Promise<Starts | { readonly missing: string }> {
  const { linkedAt } = await import('../share/closure/loader-start.ts');
  const { measureStart } = await import('../sys/start-cost.ts');
  const loader = modules.find(({ role }) => role === 'loader');
  const at = loader === undefined ? undefined : linkedAt(loader.image);
  if (at === undefined)
    return { missing: 'the dynamic loader is not glibc’s: where it has finished is not known' };
  const { LD_BIND_NOW: _, ...env } = process.env;
  const plain: StartCost[] = [];
  const bindNow: StartCost[] = [];
  const measure = (bound: boolean): boolean => {
    const start = measureStart({ program, argv, at, env: bound ? { ...env, LD_BIND_NOW: '1' } : env });
    if (start !== undefined) (bound ? bindNow : plain).push(start);
    return start !== undefined;
  };
  // The first one reads what is not in memory yet.
  if (!measure(false)) return { missing: 'the program cannot be traced here' };
  plain.length = 0;
  for (let round = 0; round < ROUNDS; round++) {
    onProgress(`start ${round + 1} of ${ROUNDS}`);
    const first = round % 2 === 1;
    if (!measure(first) || !measure(!first)) return { missing: 'the program did not start each time' };
  }
  return { plain, bindNow, image: { missing: 'no image after relocation was built' } };
}
