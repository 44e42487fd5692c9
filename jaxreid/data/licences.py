"""Under which terms data sets are handed out."""

_RESEARCH = "academic research only"
LICENCES = {
    "synthpedes": "Apache-2.0; rendered people, no real person is shown",
    "cuhk_pedes": f"{_RESEARCH}; from its authors on request",
    "icfg_pedes": f"{_RESEARCH}; from its authors on request; images of MSMT17",
    "rstpreid": f"{_RESEARCH}; from its authors on request; images of MSMT17",
    "chatpedes": f"{_RESEARCH}; images of CUHK-PEDES from their authors on request",
    "interactive_pedes": "none stated with its code; images under their authors' terms",
    "itcpr": f"{_RESEARCH}; images of Celeb-reID, PRCC and LaST under their authors' terms",
    "tgcpr": f"{_RESEARCH}; images of DeepChange, CCVID, COCAS-Real2 and VCCR under their authors' "
    "terms",
    "syncpr": f"{_RESEARCH}; generated people",
}
