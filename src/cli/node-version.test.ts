import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { requireNode } from './node-version.ts';

describe('the Node that winnow is started on', () => {
  it.each(['18.19.0', '20.0.0', '20.18.3', '4.2'])('%s is too old', (version) => {
    expect(() => requireNode(version, '/usr/bin/node')).toThrow(
      expect.objectContaining({ code: 'E_NODE_OLD', where: '/usr/bin/node', exitCode: 3 }),
    );
  });

  it.each(['20.19.0', '20.20.2', '21.0.0', '24.1.0'])('%s is new enough', (version) => {
    expect(() => requireNode(version)).not.toThrow();
  });

  it('is the one that package.json asks for', () => {
    const { engines } = JSON.parse(
      readFileSync(join(import.meta.dirname, '..', '..', 'package.json'), 'utf8'),
    );
    expect(engines.node).toBe('>=20.19');
  });
});
