/** A reason why a program gets no image, thrown within the room and answered as a result at its door. */
import type { NotLinked } from '../model.ts';

export class Refusal extends Error {
  readonly reason: string;
  readonly detail: string | undefined;

  constructor(reason: string, detail?: string) {
    super(detail === undefined ? reason : `${reason}: ${detail}`);
    this.name = 'Refusal';
    this.reason = reason;
    this.detail = detail;
  }

  get result(): NotLinked {
    const { reason, detail } = this;
    return { kind: 'kept', reason, ...(detail === undefined ? {} : { detail }) };
  }
}
