import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    globalSetup: './test/support/own-folders.ts',
    include: ['src/**/*.test.ts', 'test/**/*.test.ts', 'bench/**/*.test.ts'],
    // The tests start, trace and kill processes: each file in a process of its own.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    // Scenes are built in hooks: by gcc, recordings and builds, on whatever else the machine does.
    hookTimeout: 120_000,
  },
});
