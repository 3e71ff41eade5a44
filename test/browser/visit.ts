// One visit to a page of a test server.

import type { Browser, BrowserContext, Page } from 'playwright-core';

export interface Visit {
  result: Record<string, unknown>;
  /** Errors, warnings, failed requests and violations of the policy. */
  complaints: string[];
  /** Workers that the page and its workers started. */
  workers: number;
}

/** What a page complains of while it is used: errors, warnings, failed requests, violations of the policy. */
export function complaintsOf(page: Page): string[] {
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('requestfailed', (request) => complaints.push(`${request.url()}: ${request.failure()?.errorText}`));
  return complaints;
}

/** Addresses on the network, of pages, workers and service workers, that are not below the one given. */
export function strangersOf(context: BrowserContext, url: string): string[] {
  const strangers: string[] = [];
  context.on('request', (request) => {
    if (/^(?:https?|wss?|file):/.test(request.url()) && !request.url().startsWith(url))
      strangers.push(request.url());
  });
  return strangers;
}

/** Opens a page in a fresh profile and calls one of its globals. */
export async function visit(browser: Browser, url: string, entry: string, argument: unknown): Promise<Visit> {
  const context = await browser.newContext();
  context.setDefaultTimeout(0);
  try {
    const page = await context.newPage();
    const complaints = complaintsOf(page);
    let workers = 0;
    page.on('worker', () => workers++);
    await page.goto(url);
    await page.waitForFunction((name) => name in globalThis, entry);
    const result = await page.evaluate(
      ([name, given]) =>
        (globalThis as never as Record<string, (given: unknown) => unknown>)[name as string](given),
      [entry, argument],
    );
    return { result: result as Record<string, unknown>, complaints, workers };
  } finally {
    await context.close();
  }
}
