// The core's tests (kernels, solver, graph) in whatever runtime this is bundled for.

import files from 'virtual:test-files';
import {
  collectTests,
  type File,
  type Suite,
  startTests,
  type Task,
  type VitestRunner,
} from '@vitest/runner';

export interface CoreResult {
  passed: number;
  /** Where none was run: `passed` are those that would be. */
  isCounted?: boolean;
  /** Of each failed test or file, its name and the first error. */
  failures: string[];
}

const runner: VitestRunner = {
  config: {
    root: '/',
    setupFiles: [],
    name: undefined,
    passWithNoTests: false,
    testNamePattern: undefined,
    allowOnly: false,
    sequence: { seed: 0, hooks: 'stack', setupFiles: 'list' },
    chaiConfig: undefined,
    maxConcurrency: 1,
    testTimeout: 600_000, // against hangs
    hookTimeout: 600_000,
    retry: 0,
    includeTaskLocation: false,
    tags: [],
    tagsFilter: undefined,
    strictTags: false,
  },
  importFile: (path) => files[path](),
};

export async function runCore(isCounted = false): Promise<CoreResult> {
  const result: CoreResult = { passed: 0, isCounted, failures: [] };
  const walk = isCounted ? collectTests : startTests;
  for (const file of await walk(Object.keys(files), runner)) count(file, result);
  return result;
}

function count(task: Task | File | Suite, result: CoreResult): void {
  const errors = task.result?.errors;
  if (errors?.length || task.result?.state === 'fail') {
    if (task.type === 'test' || errors?.length) {
      result.failures.push(`${task.fullName}: ${errors?.[0]?.message ?? 'failed'}`);
    }
  } else if (task.type === 'test') {
    if (task.result?.state === 'pass' || (result.isCounted && task.mode === 'run')) result.passed++;
    else result.failures.push(`${task.fullName}: did not run`);
  }
  if (task.type === 'suite') for (const child of task.tasks) count(child, result);
}
