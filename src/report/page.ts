// The script of a report's page.

import { drawReport } from './draw.ts';

drawReport(document, JSON.parse(document.getElementById('drawn')!.textContent!));
