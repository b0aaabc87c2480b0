import type { Store } from '../core/state';
import { byId, el, setText } from './dom';

/** What to ask before something that cannot be undone. */
export interface Question {
  title: string;
  text: string;
  yes: string;
  /** A name that has to be typed. */
  type?: string;
}

/** Asks whether to go on. Whoever presses Escape does not. */
export function sure(q: Question): Promise<boolean> {
  const dialog = byId<HTMLDialogElement>('confirm');
  const form = byId<HTMLFormElement>('confirm-form');
  const name = byId<HTMLInputElement>('confirm-name');
  const yes = byId<HTMLButtonElement>('confirm-yes');
  const no = byId<HTMLButtonElement>('confirm-no');
  setText(byId('confirm-title'), q.title);
  setText(byId('confirm-text'), q.text);
  setText(byId('confirm-want'), q.type ?? '');
  setText(yes, q.yes);
  byId('confirm-type').hidden = q.type === undefined;
  name.value = '';
  const check = (): void => {
    yes.disabled = q.type !== undefined && name.value.trim() !== q.type;
  };
  check();
  dialog.returnValue = '';
  return new Promise((resolve) => {
    const over = new AbortController();
    const { signal } = over;
    name.addEventListener('input', check, { signal });
    no.addEventListener('click', () => dialog.close(), { signal });
    form.addEventListener(
      'submit',
      (e) => {
        e.preventDefault();
        if (!yes.disabled) dialog.close('yes');
      },
      { signal },
    );
    dialog.addEventListener(
      'close',
      () => {
        over.abort();
        resolve(dialog.returnValue === 'yes');
      },
      { signal },
    );
    dialog.showModal();
    (q.type === undefined ? no : name).focus();
  });
}

/** A secret text that is shown once, with a button that copies it. */
export function secret(text: string, note: string): HTMLElement {
  const field = el('input', { value: text, readOnly: true, className: 'secret' });
  field.setAttribute('aria-label', note);
  const done = el('span', { className: 'dim small', role: 'status' });
  const copy = el('button', { type: 'button', textContent: 'Copy' });
  copy.addEventListener('click', async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(text);
      setText(done, 'Copied.');
    } catch {
      setText(done, 'Press Ctrl+C to copy it.'); // the browser gives the clipboard to secure pages only
    }
  });
  return el('div', { className: 'made' }, el('p', {}, note), el('div', { className: 'inline' }, field, copy, done));
}

/** Shows something that was made, once. */
export function showMade(title: string, body: HTMLElement): void {
  const dialog = byId<HTMLDialogElement>('made');
  setText(byId('made-title'), title);
  byId('made-body').replaceChildren(body);
  dialog.showModal();
  body.querySelector('input')?.select();
}

/** Runs an order of a button: the button waits, and what goes wrong is told. */
export async function order(b: HTMLButtonElement, store: Store, run: () => Promise<void>): Promise<void> {
  b.disabled = true;
  try {
    await run();
    store.dispatch({ type: 'problem', text: undefined });
  } catch (e) {
    store.dispatch({ type: 'problem', text: sentence((e as Error).message) });
  } finally {
    b.disabled = false;
  }
}

/** Makes a text of the server a sentence. */
export function sentence(s: string): string {
  const t = s.charAt(0).toUpperCase() + s.slice(1);
  return /[.!?]$/.test(t) ? t : `${t}.`;
}

/** A button that runs an order. */
export function doer(text: string, store: Store, run: () => Promise<void>, className = ''): HTMLButtonElement {
  const b = el('button', { type: 'button', textContent: text, className });
  b.addEventListener('click', () => void order(b, store, run));
  return b;
}

const day = 86_400_000;

/** When something was or will be, in words, with the exact time as title. */
export function when(iso: string | undefined, never = 'never'): HTMLElement {
  if (!iso) return el('span', { className: 'dim', textContent: never });
  const at = new Date(iso);
  const e = el('time', { dateTime: iso, title: at.toLocaleString() });
  const ms = at.getTime() - Date.now();
  const f = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
  const past = Math.abs(ms);
  if (past < 60_000) e.textContent = ms > 0 ? 'in a moment' : 'just now';
  else if (past < 3_600_000) e.textContent = f.format(Math.trunc(ms / 60_000), 'minute');
  else if (past < day) e.textContent = f.format(Math.trunc(ms / 3_600_000), 'hour');
  else e.textContent = f.format(Math.trunc(ms / day), 'day');
  return e;
}

export const gib = (n: number | undefined): string => {
  const v = (n ?? 0) / 2 ** 30;
  return v >= 1 || v === 0 ? `${Math.round(v * 10) / 10} GiB` : `${Math.round(v * 1024)} MiB`;
};
