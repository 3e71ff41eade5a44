// Makes the declarations that tsc has written fit for every reader: of TypeScript 5.4, without the DOM's declarations, with
// skipLibCheck off. What they import from packages that ask for more is declared in them.
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

const FOLDER = 'dist/types';
const ENTRIES = ['index.d.ts', 'model.d.ts', 'layer.d.ts', 'report/index.d.ts'];

/**
 * What the declarations say of names that environments declare: nothing, so that they add to what is declared there (by
 * lib.dom, @types/node) and are enough where nothing is.
 */
const GLOBALS = `interface AbortSignal {}
interface Blob {}
interface File extends Blob {}
interface HTMLElement {}
interface ParentNode {}
interface URL {}
interface SymbolConstructor { readonly asyncDispose: unique symbol }
declare namespace WebAssembly {
  interface Module {}
  interface Memory {}
  interface Instance {}
}
`;

/** protobuf's own declarations are of TypeScript 5.7. */
const MESSAGE = `interface Message<Name extends string = string> { readonly $typeName: Name; $unknown?: readonly unknown[] }
interface GenMessage<Shape> { readonly message?: Shape }
interface GenEnum<Values> { readonly values?: Values }
type GenFile = object;
`;

/** What src/wasm.d.ts declares, of files that asc compiles too. */
const NUMBERS = `type f64 = number;
type i32 = number;
`;

export function portableTypes() {
  writeFileSync(join(FOLDER, 'globals.d.ts'), GLOBALS);
  copyFileSync('build/osscar.d.ts', join(FOLDER, 'kernel/osscar.d.ts'));
  for (const file of readdirSync(FOLDER, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.d.ts')) continue;
    const path = join(FOLDER, file);
    const text = readFileSync(path, 'utf8');
    const generic = /\b((?:Uint8|Float32|Float64|Int32)Array|DataView)<ArrayBuffer(?:Like)?>/g;
    const messages =
      /import (?:type )?\{ (?:type )?(?:Gen\w+|Message)\b[^}]*\} from ['"]@bufbuild\/protobuf[^'"]*['"];\n/g;
    const isMessages = messages.test(text);
    const portable = text
      .replace(generic, '$1')
      .replace(messages, '')
      .replace('../../build/osscar.js', './osscar.js');
    const globals = relative(dirname(path), join(FOLDER, 'globals.d.ts'));
    const first = ENTRIES.includes(file) ? `/// <reference path="${globals}" />\n` : '';
    const numbers = /: (f64|i32)\b/.test(text) ? NUMBERS : '';
    writeFileSync(path, first + numbers + (isMessages ? MESSAGE : '') + portable);
  }
}
