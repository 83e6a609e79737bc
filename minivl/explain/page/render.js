// Drawing a step anew whenever something is chosen: the step, the outline, the head and the foot.

function crumbs(s) {
  const chain = [];
  for (let c = s.parent ? step(s.parent) : null; c; c = c.parent ? step(c.parent) : null) chain.unshift(c);
  const part = PARTS.find(([name]) => name === rootOf(s).part);
  return el(
    'p',
    { className: 'crumbs' },
    part ? part[1] : '',
    chain.map(c => [' › ', el('a', { href: link({ step: c.key }) }, c.title)]),
  );
}

function stepPage(s) {
  const wide = ['overview', 'versus', 'training', 'heads'].includes(s.kind);
  const cards = VIEWS[s.kind](s).filter(Boolean),
    beside = [sourceCard(s), sumsCard(s), childrenCard(s)].filter(Boolean);
  const question = quizCard(s);
  const body =
    question && !question.done
      ? el('div', { className: 'columns' }, el('div', {}, question.card), el('div', {}, sourceCard(s)))
      : wide && beside.length
        ? el('div', { className: 'columns wide' }, el('div', {}, question ? question.card : null, cards), el('div', {}, beside))
        : wide
          ? el(
              'div',
              { className: 'columns', style: 'grid-template-columns:minmax(0,1fr)' },
              el('div', {}, question ? question.card : null, cards),
            )
          : el('div', { className: 'columns' }, el('div', {}, question ? question.card : null, cards), el('div', {}, beside));
  return [crumbs(s), el('h1', {}, s.title), el('p', { className: 'lead' }, s.lead), controls(s), body];
}

function childrenCard(s) {
  const inner = childrenOf(s);
  return inner.length
    ? card(
        'Inside this step',
        el(
          'ol',
          { style: 'margin:.2rem 0;padding-left:1.3rem' },
          inner.map(c => el('li', {}, el('a', { href: link({ step: c.key }) }, c.title))),
        ),
        el('p', { className: 'note no-print' }, el('kbd', {}, '↓'), ' goes in, ', el('kbd', {}, '↑'), ' comes out again'),
      )
    : null;
}

function outlineList(steps) {
  return el(
    'ol',
    {},
    steps.map(s =>
      el(
        'li',
        { className: isOpen(s) ? 'open' : '' },
        el('a', { href: link({ step: s.key, site: 0 }), 'aria-current': s.key === state.step ? 'step' : null }, s.title),
        isOpen(s) && childrenOf(s).length ? outlineList(childrenOf(s)) : null,
      ),
    ),
  );
}
function outline() {
  const nav = $('outline'),
    at = nav.scrollTop;
  nav.replaceChildren(
    ...PARTS.flatMap(([part, title]) => {
      const some = roots().filter(s => s.part === part);
      return some.length ? [el('h2', {}, title), outlineList(some)] : [];
    }),
  );
  nav.scrollTop = at;
  const here = nav.querySelector('[aria-current]');
  if (here && nav.clientHeight && (here.offsetTop < nav.scrollTop + 40 || here.offsetTop > nav.scrollTop + nav.clientHeight - 60))
    nav.scrollTop = here.offsetTop - nav.clientHeight / 2;
}

function foot(s) {
  const level = s.parent ? childrenOf(step(s.parent)) : roots(),
    i = level.findIndex(x => x.key === s.key),
    inner = childrenOf(s).length;
  $('foot').replaceChildren(
    el('button', { id: 'back', onclick: () => move(-1), disabled: s.key === 'overview' }, '← Back'),
    s.parent
      ? el('button', { id: 'out', onclick: outside }, '↑ Out')
      : el('button', { id: 'in', onclick: inside, disabled: !inner }, '↓ Inside'),
    el('div', { className: 'track', 'aria-hidden': 'true' }, el('i', { style: `width:${(100 * (i + 1)) / level.length}%` })),
    el('span', { className: 'count' }, whereTold()),
    el('button', { id: 'next', onclick: () => move(1), disabled: nextOf(s, 1).key === s.key }, 'Next →'),
  );
}

function head() {
  const about = book().about;
  $('model').textContent = `· ${about.model}`;
  $('sentence').textContent = `“${book().example.text}”`;
  const theme = document.documentElement.dataset.theme || 'auto';
  $('tools').replaceChildren(
    el(
      'button',
      {
        id: 'contents',
        className: 'narrow-only',
        'aria-expanded': String($('outline').classList.contains('shown')),
        onclick: () => {
          $('outline').classList.toggle('shown');
          render('contents');
        },
      },
      'Steps',
    ),
    ...(books.length > 1
      ? [
          el(
            'button',
            { id: 'versus', onclick: switchBook },
            `show ${books[1 - state.book].about.model}${books[0].about.model === books[1].about.model ? ` (${books[1 - state.book].about.run})` : ''}`,
          ),
        ]
      : []),
    el(
      'button',
      { id: 'theme', onclick: switchTheme, 'aria-label': `colours: ${theme}; change` },
      { auto: '◐ auto', light: '☀ light', dark: '☾ dark' }[theme],
    ),
    el('button', { id: 'keys', onclick: showHelp, 'aria-label': 'keys' }, '?'),
  );
}

let drawn = '';
function render(focus = null) {
  const s = current(),
    main = $('step'),
    at = main.scrollTop,
    page = scrollY,
    same = drawn === s.key;
  state.step = s.key;
  if (s.variants.length && state.layer >= Math.max(1, layerCount(s))) state.layer = Math.max(1, layerCount(s)) - 1;
  const open = same ? [...main.querySelectorAll('details[open] > summary')].map(x => x.textContent) : [];
  main.replaceChildren(...stepPage(s).filter(Boolean));
  for (const summary of main.querySelectorAll('summary')) if (open.includes(summary.textContent)) summary.parentElement.open = true;
  head();
  outline();
  foot(s);
  document.title = `${s.title} · minivl explain ${book().about.model}`;
  if (same) {
    main.scrollTop = at;
    if (getComputedStyle(document.body).display === 'block') scrollTo(0, page);
  }
  drawn = s.key;
  const hash = link();
  if (location.hash !== hash) history.replaceState(null, '', hash);
  if (focus && $(focus)) $(focus).focus({ preventScroll: true });
}
